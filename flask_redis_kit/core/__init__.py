"""The core that every feature stands on. Import its modules by name; this file exports nothing."""
