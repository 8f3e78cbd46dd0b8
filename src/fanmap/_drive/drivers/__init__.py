"""How threads and the tasks of event loops do what a caller tells them: they wait, wake and call."""
