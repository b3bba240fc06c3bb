"""The same work done by us and by others, side by side: ``make bench``."""
