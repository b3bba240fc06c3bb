"""Names, places and domains of the demo: many scripts, reserved domains only (RFC 2606)."""

from __future__ import annotations

from typing import NamedTuple


class Tongue(NamedTuple):
    """One language: ``local`` is how names of this script are written before the @."""

    language: str
    given: tuple[str, ...]
    family: tuple[str, ...]
    local: tuple[str, ...]
    cities: tuple[str, ...]
    domains: tuple[str, ...]


TONGUES = (
    Tongue(
        "en",
        ("Ann", "Oliver", "Zoë", "Liam", "Priya", "Noah", "Grace", "Siobhán"),
        ("Smith", "O'Brien", "Patel", "Nguyen", "Taylor-Jones", "Brown"),
        ("ann", "oliver", "zoe", "liam", "priya", "noah", "grace", "siobhan"),
        ("London", "Dublin", "Chicago", "Wellington"),
        ("mail.example", "post.example.com", "example.org"),
    ),
    Tongue(
        "de",
        ("Jürgen", "Käthe", "Björn", "Ümit", "Anna", "Götz"),
        ("Müller", "Groß", "Weiß", "von der Höhe", "Schäfer"),
        ("juergen", "kaethe", "bjoern", "uemit", "anna", "goetz"),
        ("Köln", "München", "Zürich", "Wien"),
        ("bücher.example", "post.example.net", "straße.example"),
    ),
    Tongue(
        "es",
        ("José", "Íñigo", "María", "Lucía", "Ángel"),
        ("García", "Núñez", "Muñoz", "Peña", "López"),
        ("jose", "inigo", "maria", "lucia", "angel"),
        ("Málaga", "Ciudad de México", "Bogotá", "A Coruña"),
        ("correo.example", "niño.example"),
    ),
    Tongue(
        "fr",
        ("Amélie", "François", "Noël", "Chloé"),
        ("Lefèvre", "D'Amboise", "Bélanger", "Le Goff"),
        ("amelie", "francois", "noel", "chloe"),
        ("Orléans", "Montréal", "Besançon"),
        ("courriel.example", "façade.example"),
    ),
    Tongue(
        "pl",
        ("Łukasz", "Małgorzata", "Paweł", "Żaneta"),
        ("Wójcik", "Dąbrowski", "Kaźmierczak"),
        ("lukasz", "malgorzata", "pawel", "zaneta"),
        ("Łódź", "Kraków", "Gdańsk"),
        ("poczta.example", "łódź.example"),
    ),
    Tongue(
        "tr",
        ("İpek", "Çağla", "Oğuz", "Şule"),
        ("Yıldız", "Öztürk", "Güneş"),
        ("ipek", "cagla", "oguz", "sule"),
        ("İstanbul", "Muğla"),
        ("posta.example",),
    ),
    Tongue(
        "el",
        ("Ελένη", "Γιώργος", "Σοφία"),
        ("Παπαδοπούλου", "Νικολάου"),
        ("eleni", "giorgos", "sofia"),
        ("Αθήνα", "Θεσσαλονίκη"),
        ("ταχυδρομείο.example",),
    ),
    Tongue(
        "ru",
        ("Анна", "Дмитрий", "Ольга", "Пётр"),
        ("Иванова", "Щербаков", "Ёлкин"),
        ("anna", "dmitri", "olga", "petr"),
        ("Казань", "Томск"),
        ("почта.example",),
    ),
    Tongue(
        "ja",
        ("さくら", "太郎", "陽子"),
        ("田中", "佐藤", "渡邉"),
        ("sakura", "taro", "yoko"),
        ("東京", "札幌市"),
        ("メール.example", "例え.example"),
    ),
    Tongue(
        "zh",
        ("伟", "秀英", "子涵"),
        ("王", "李", "欧阳"),
        ("wei", "xiuying", "zihan"),
        ("北京", "臺北"),
        ("邮件.example",),
    ),
    Tongue(
        "ar",
        ("ليلى", "محمد", "نور"),
        ("الحسن", "بن يوسف"),
        ("layla", "mohammed", "nour"),
        ("القاهرة", "الرباط"),
        ("بريد.example",),
    ),
    Tongue(
        "hi",
        ("आरव", "दीया", "अनन्या"),
        ("शर्मा", "वर्मा"),
        ("aarav", "diya", "ananya"),
        ("दिल्ली", "मुंबई"),
        ("डाक.example",),
    ),
    Tongue(
        "ko",
        ("지우", "서연", "민준"),
        ("김", "이", "남궁"),
        ("jiwoo", "seoyeon", "minjun"),
        ("서울", "부산"),
        ("우편.example",),
    ),
)
