"""Whatever a benchmark imports finds the switches of the stages set, so that it computes as they do."""

from stages.arithmetic import hold_down

hold_down()
