"""Azure ML apart from tracking: workspaces, and jobs on their compute; needs the extra `azure`."""
