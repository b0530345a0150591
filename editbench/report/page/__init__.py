"""One self-contained HTML page of results: leaderboard, figures, requests, statuses, how to reproduce."""
