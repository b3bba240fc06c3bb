"""What a grant log says about windows, worked out the slow and certain way."""


def most_in_any_window(log, seconds):
    """``log``: (time, granted). A window is half-open; the fullest one begins with a grant."""
    return max(
        (sum(granted for at, granted in log if start <= at < start + seconds) for start, _ in log), default=0
    )
