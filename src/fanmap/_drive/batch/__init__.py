"""Effects of a batch job: taking requests from clients and answering them, handing in, waiting, the file."""
