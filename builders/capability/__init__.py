"""Makes the items of the core tasks from written material and templates; the same bytes every time."""
