from .detection import detect as detect
from .losses import MultiBoxLoss as MultiBoxLoss
from .spec import ARTICLE as ARTICLE, PAPER as PAPER
from .ssd300 import SSD300 as SSD300
