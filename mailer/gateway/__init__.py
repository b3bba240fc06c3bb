"""SMTP in, for applications that speak nothing else: a message is a row of the ledger before it hears 250."""
