"""Papers, tried here: a folder a paper, a command each, which writes its page in docs/reproductions/."""
