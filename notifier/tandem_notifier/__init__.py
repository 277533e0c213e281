"""The background notifier of Tandem; no Qt."""
