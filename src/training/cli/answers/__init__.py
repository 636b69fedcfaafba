"""What the commands that read the tracking store do: a module each, which loads what that one needs."""
