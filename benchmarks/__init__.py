"""Whatever a benchmark imports finds the switches of the stages set, so that it computes as they do."""

# It sets them.
import stages  # noqa: F401
