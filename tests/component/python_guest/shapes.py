from wit_world.exports import shapes


class Counter(shapes.Counter):
    def __init__(self, start):
        self.value = start

    def inc(self, by):
        self.value += by
        return self.value
