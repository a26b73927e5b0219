"""The use cases of albench as functions with typed results. The command line and notebooks call the
same ones.

Nothing here prints or parses a command line: functions return values, raise `AlbenchError`, and
report what happens on the way to callbacks. Heavy libraries are imported when a function that needs
them is called.
"""
