"""Encrypted connections of a packet capture opened with the secrets at hand.

What is needed of the rest of the reader is little: the bytes of each direction of a TCP connection in order,
with its gaps and their sizes, as a `Speaker` is fed them; the payloads of UDP datagrams as they come; the teller
of the flow with the time of the packet being read; and the secrets a capture carries, at their place in
the file. It never sees a file format, a packet's header or a sequence number.
"""
