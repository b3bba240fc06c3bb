"""Messages that applications hand over one by one: checked at the door, a row first, a hint second."""
