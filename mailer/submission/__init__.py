"""What every face that takes messages opens: the ledger, the office, and whoever delivers."""
