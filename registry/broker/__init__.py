"""The embedded MQTT broker: amqtt on the loopback interface, for one machine. `python -m registry.broker --port N`.

A factory with more than one machine runs a broker of its own; `genba registry serve --broker URL` then uses that.
"""

__all__ = ["corrections", "process"]
