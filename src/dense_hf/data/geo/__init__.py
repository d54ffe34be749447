"""Pictures with map coordinates, and mosaics that are read window by window (the extra `geo`)."""
