"""Each is started as a process of its own with one JSON argument, and prints one line of JSON: nothing leaks between measurements."""
