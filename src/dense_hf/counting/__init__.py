"""Counting objects that blend into their scene: IOCFormer (thesis, chapter 2) and its baselines (Table 2.3)."""
