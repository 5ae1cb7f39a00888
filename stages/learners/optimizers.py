"""The optimizers of params.yaml; Keras' Adam and Muon with the same steps in less time."""

import math

import keras
from keras import ops

from stages.params.schema import Optimizer

# Keras finds them by this name when it copies a compiled network.
KERAS = "keras.optimizers"


class Adam(keras.optimizers.Adam):
    """Adam whose step is one operation of TensorFlow, where Keras has a dozen (Kingma & Ba, "Adam", 2015)."""

    __module__ = KERAS

    def update_step(self, gradient, variable, learning_rate):
        if keras.config.backend() != "tensorflow":
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        index = self._get_variable_index(variable)
        count = ops.cast(self.iterations + 1, "float32")
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=ops.power(ops.cast(self.beta_1, "float32"), count),
            beta2_power=ops.power(ops.cast(self.beta_2, "float32"), count),
            lr=ops.cast(learning_rate, "float32"),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, "float32"),
        )


class Muon(keras.optimizers.Muon):
    """Muon for the weights of dense layers, AdamW for all others (Jordan et al., "Muon", 2024).

    The Newton-Schulz iteration multiplies X by polynomials of A = X Xᵀ, which commute. So they are multiplied with each
    other, as small as the shorter side of X, and X itself only at the end.
    """

    __module__ = KERAS

    def zeropower_via_newtonschulz5(self, x, steps: int):
        wide = x if x.shape[0] <= x.shape[1] else ops.transpose(x)
        wide = wide / (ops.norm(wide) + 1e-7)
        gram, product = wide @ ops.transpose(wide), None
        for step in range(steps):
            factor = self.muon_b * gram + self.muon_c * (gram @ gram)
            factor = factor + self.muon_a * ops.eye(gram.shape[0])
            product = factor if product is None else factor @ product
            if step < steps - 1:
                gram = factor @ gram @ factor
        wide = product @ wide
        return wide if x.shape[0] <= x.shape[1] else ops.transpose(wide)


QUICKER = {"adam": Adam, "muon": Muon}


def optimizer(params: Optimizer, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of `params` (name, learning_rate, schedule) for a training of `steps` steps.

    `one_cycle` rises linearly to the learning rate over the first 30 % of the steps and falls back
    along a cosine (after Smith & Topin, "Super-Convergence", 2017).
    """
    peak = params.learning_rate
    decay = keras.optimizers.schedules.CosineDecay
    if params.schedule == "cosine":
        rate = decay(peak, decay_steps=steps)
    elif params.schedule == "one_cycle" and steps > 1:
        rise = math.ceil(0.3 * steps)
        rate = decay(peak / 25, steps - rise, warmup_target=peak, warmup_steps=rise)
    else:
        rate = peak
    if params.name in QUICKER:
        return QUICKER[params.name](rate)
    return keras.optimizers.get({"class_name": params.name, "config": {"learning_rate": rate}})
