"""The command line: a file for each verb, imported when it is used."""
