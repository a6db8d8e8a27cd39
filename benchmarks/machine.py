"What a file of figures says about its making: the command and the processor."
import sys
from pathlib import Path

def processor():
    "The name of this processor, as Linux has it."
    try: return next(l.split(': ')[1].strip() for l in Path('/proc/cpuinfo').read_text().splitlines() if l.startswith('model name'))
    except (OSError, StopIteration): return 'unknown'

def made_by():
    "The command that runs now, and the processor that it runs on."
    return dict(command=' '.join(['python', f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]]), processor=processor())
