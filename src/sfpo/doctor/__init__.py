"""`sfpo doctor`: whether this installation and this machine can do what sfpo does, and the commands that mend what cannot."""
