"""The command line: parse, call a public verb, print."""
