"""Whatever a stage imports finds the switches of its arithmetic set."""

from stages.arithmetic import hold_down

hold_down()
