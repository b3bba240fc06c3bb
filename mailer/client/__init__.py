"""What applications call: ``from mailer import Mailer``."""
