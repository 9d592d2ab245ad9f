"""The checkpoints that the paper's authors published, read and evaluated."""
