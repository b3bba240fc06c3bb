"""An SMTP server for development and tests that can be told to misbehave."""
