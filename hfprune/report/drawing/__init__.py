"""What figures for print share: axes, the marks of charts, legends, letters, and how they are written."""
