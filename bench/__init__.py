"""Speed and memory as ratios against bare floors of the same run; ``make bench``."""
