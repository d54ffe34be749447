"""Segmenting video with the help of earlier frames: CFFM (thesis, chapter 4) and MRCFA (chapter 5)."""
