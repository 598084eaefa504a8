"""Work that takes long: its progress, what it waits for, and how it is stopped."""
