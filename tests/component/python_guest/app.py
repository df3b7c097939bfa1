import math

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host
from wit_world.imports.types import Color, Shape_Circle, Shape_Nothing


class Shapes(exports.Shapes):
    def area(self, shape):
        host.log(f"area of {type(shape).__name__}")
        if isinstance(shape, Shape_Circle):
            return math.pi * shape.value**2
        if isinstance(shape, Shape_Nothing):
            raise Err("nothing has no area")
        return float(len(shape.value))

    def scaled(self, points):
        return [host.scale(point) for point in points]

    def paint(self, color, names):
        return None if color == Color.RED else ", ".join(names)
