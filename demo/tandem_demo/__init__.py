"""The demo of Tandem: a real homeserver, two people, three devices."""
