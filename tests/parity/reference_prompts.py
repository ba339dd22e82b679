"""The prompts of the parity reference: chats of many kinds, code, languages, numbers, hostile white space, long texts.

Each entry is a name and either a list of chat messages (rendered with the model file's own template, generation prompt
added) or a raw text, which is completed as it is.
"""


def user(text):
    return [{"role": "user", "content": text}]


def diary(days):
    """A text of ordinary prose that never repeats a sentence exactly."""
    winds = ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"]
    sights = ["a fishing boat with a red sail", "two whales", "nothing but fog", "a steamer bound for Hull",
              "a flock of geese", "the mail boat, late again", "a rainbow over the reef"]
    lines = ["The lighthouse keeper wrote in his log every evening."]
    for day in range(1, days + 1):
        lines.append(f"On day {day} the wind came from the {winds[(day * 3) % 8]} at {5 + (day * 7) % 31} knots, and he saw "
                     f"{sights[(day * 5) % 7]}.")
    return " ".join(lines)


def ledger(rows):
    """A table of numbers: every digit is a token of its own for this vocabulary."""
    lines = ["date,item,quantity,price"]
    items = ["bolts", "oak planks", "lamp oil", "rope", "canvas", "paint"]
    for row in range(rows):
        lines.append(f"2024-{1 + row % 12:02d}-{1 + (row * 5) % 28:02d},{items[row % 6]},{(row * 37) % 91 + 1},"
                     f"{(row * 113) % 997 / 10:.2f}")
    return "\n".join(lines)


CODE_REVIEW = '''def merge(left, right):
    out = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            out.append(left[i]); i += 1
        else:
            out.append(right[j]); j += 1
    return out + left[i:]
'''

PROMPTS = [
    ("capital", user("What is the capital of France?")),
    ("haiku", user("Write a haiku about the sea.")),
    ("sums", user("Compute 12 + 345 and 2024 - 1999.")),
    ("fibonacci", user("Write a Python function that returns the n-th Fibonacci number.")),
    ("pirate system prompt", [{"role": "system", "content": "You are a terse pirate."},
                              {"role": "user", "content": "Tell me about treasure."}]),
    ("three turns", [{"role": "user", "content": "Hi"},
                     {"role": "assistant", "content": "Hello! How can I help you today?"},
                     {"role": "user", "content": "List three colours, one per line."}]),
    ("french", user("Traduis en français: The cat sleeps on the warm roof.")),
    ("scripts", user("Emoji and scripts: 😀🚀 日本語 Ελληνικά العربية – what are these?")),
    ("white space", user("   leading spaces\n\n\ttabs\tand\r\nnewlines   \n")),
    ("json", user('{"name": "Ada", "age": 36, "langs": ["C", "ML"]}\nReturn this JSON with the age increased by one.')),
    ("sky", user("Explain in two sentences why the sky is blue.")),
    ("german", user("Erkläre kurz, was ein Segelboot ist und wie es gegen den Wind fährt.")),
    ("spanish", user("¿Cuáles son los ingredientes de una tortilla española?")),
    ("russian", user("Напиши короткое предложение о зиме.")),
    ("chinese", user("请用一句话介绍长城。")),
    ("hindi", user("नमस्ते, आप कैसे हैं?")),
    ("c code", user("Write a C function that reverses a string in place. Only code.")),
    ("sql", user("Write an SQL query that counts orders per customer for the table orders(id, customer_id, total).")),
    ("bug hunt", user("Find the bug in this function:\n\n```python\n" + CODE_REVIEW + "```")),
    ("regular expression", user("Give a regular expression that matches an IPv4 address, and explain it briefly.")),
    ("shell", user("How do I find all files larger than 10 MB under /var with one shell command?")),
    ("long numbers", user("Sort these numbers: 9007199254740993, 3.14159, -273.15, 1e-9, 0x7F, 1000000007.")),
    ("word problem", user("A train leaves at 14:35 and arrives at 17:10. It stops for 5 minutes. How long does it move?")),
    ("classification", [{"role": "system", "content": "Answer with one word: positive, negative or neutral."},
                        {"role": "user", "content": "The battery died after two days and nobody answered my mail."}]),
    ("summary", user("Summarise in one sentence: The water cycle moves water from the sea to the sky by evaporation, from the "
                     "sky to the land by rain and snow, and from the land back to the sea by rivers.")),
    ("email", user("Write a polite e-mail that moves a meeting from Tuesday to Thursday.")),
    ("story", user("Once upon a time, in a village of clock makers, one clock ran backwards. Continue the story.")),
    ("history", user("Who was Ada Lovelace, and what did she write about the Analytical Engine?")),
    ("html", user("Make an HTML table with two columns, Name and Age, and three rows.")),
    ("mathematics", user("Prove that the sum of two even numbers is even. Use $2k$ notation.")),
    ("long memory", [{"role": "system", "content": "You are a helpful librarian."},
                     {"role": "user", "content": "My name is Grete and I like books about bees."},
                     {"role": "assistant", "content": "Nice to meet you, Grete! Bees are fascinating."},
                     {"role": "user", "content": "I also like maps."},
                     {"role": "assistant", "content": "Then an atlas of beekeeping would suit you."},
                     {"role": "user", "content": "What is my name, and what do I like?"}]),
    ("repetition", user("buffalo " * 40 + "\nHow many words are above?")),
    ("markup in text", user("Explain <b>bold</b> & <i>italic</i> — and what does `a && b || c` do?")),
    ("plain completion", "The three laws of thermodynamics are"),
    ("plain code completion", "#include <stdio.h>\n\nint main(void)\n{\n    for (int i = 0; i < 10; i++) {\n"),
    ("plain list completion", "Monday, Tuesday, Wednesday,"),
    ("one letter", "A"),
    ("long diary", user(diary(18) + " What did he see on day 7?")),
    ("long ledger", user("Here is a ledger:\n" + ledger(30) + "\nWhich item was bought first?")),
    ("long two turns", [{"role": "user", "content": diary(9)},
                        {"role": "assistant", "content": "A quiet season at the lighthouse. What would you like to know?"},
                        {"role": "user", "content": "Write the entry for the next day, then one about a storm.\n" + ledger(6)}]),
]
