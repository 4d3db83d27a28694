"""Which replica leads, and what a leader does from the first to the last moment of its term."""
