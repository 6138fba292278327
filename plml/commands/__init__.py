"""What each ``plml`` command does; one command a file, imported when it is called."""
