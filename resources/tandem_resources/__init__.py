"""Icons and desktop data of Tandem."""
