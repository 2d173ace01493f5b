"""The suites: each module has SUITES, a list of harness.checks.Suite."""
