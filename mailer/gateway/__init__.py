"""SMTP in: for applications that can only speak SMTP. What it takes is a row of the ledger before it says 250."""
