"""`fanmap run`, in this process where nothing else is needed, and in processes of its own."""
