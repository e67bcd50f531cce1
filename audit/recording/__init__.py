"""What happens around the recording addons: proxy, sniffer, onboarding, control page."""
