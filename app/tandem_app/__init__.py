"""The Tandem window: Qt Quick over the shared store."""
