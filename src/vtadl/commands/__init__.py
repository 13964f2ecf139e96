"""One file a command: ``add_to`` declares its arguments, the rest runs it and prints.

Modules that need torch are imported when a command runs, so that ``--help`` answers at once.
"""
