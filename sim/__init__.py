"""MetaWorld on MuJoCo behind the `Robot` protocol: tasks, fast rendering, experts, play, worker processes."""
