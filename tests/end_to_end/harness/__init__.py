"""What the end-to-end suites stand on: processes, sites, checks and the step language."""
