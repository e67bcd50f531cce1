"""What was found in the fields: needles, sequences, inferred actions, origin."""
