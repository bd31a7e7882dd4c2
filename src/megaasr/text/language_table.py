"""The languages that have a name here: codes of ISO 639 and the usual names.

Each line of `TABLE` is `code three-letter-codes: names`. The code is the one that this project
uses, that of ISO 639-1 where there is one. The three-letter codes are those of ISO 639-3 and, where
it differs, of ISO 639-2/B, then withdrawn codes and those of a variety that is written alike
(`cmn`, Mandarin, is `zh`). The first name is the English one.
"""

from __future__ import annotations

TABLE = """
aa aar: Afar
ab abk: Abkhazian, Abkhaz, Аԥсуа, Аԥсшәа
ae ave: Avestan
af afr: Afrikaans
ak aka: Akan
am amh: Amharic, አማርኛ
an arg: Aragonese, Aragonés
ar ara arb: Arabic, Modern Standard Arabic, Standard Arabic, العربية, عربي
as asm: Assamese, অসমীয়া
ast: Asturian, Asturianu
av ava: Avaric, Avar
ay aym: Aymara
az aze azj: Azerbaijani, Azeri, Azərbaycan, Azərbaycanca, Azərbaycan dili
ba bak: Bashkir, Башҡорт, Башҡортса, Башҡорт теле
be bel: Belarusian, Byelorussian, Беларуская
bg bul: Bulgarian, Български
bho: Bhojpuri, भोजपुरी
bi bis: Bislama
bm bam: Bambara, Bamanankan, Bamanakan
bn ben: Bengali, Bangla, বাংলা
bo bod tib: Tibetan, བོད་སྐད་
br bre: Breton, Brezhoneg
bs bos: Bosnian, Bosanski
ca cat: Catalan, Valencian, Català, Valencià
ce che: Chechen, Нохчийн
ceb: Cebuano, Bisaya
ch cha: Chamorro
cjy: Jin Chinese, Jinyu Chinese, Jin
ckb: Central Kurdish, Sorani, Sorani Kurdish, کوردی, کوردیی ناوەندی, سۆرانی
co cos: Corsican, Corsu
cr cre: Cree
crh: Crimean Tatar, Qırımtatarca
cs ces cze cz: Czech, Čeština, Česky
cu chu: Church Slavic, Church Slavonic, Old Church Slavonic
cv chv: Chuvash, Чӑваш
cy cym wel: Welsh, Cymraeg
da dan: Danish, Dansk
de deu ger: German, Deutsch, Standard German
dsb: Lower Sorbian, Dolnoserbski, Dolnoserbšćina
dv div: Dhivehi, Divehi, Maldivian, ދިވެހި
dz dzo: Dzongkha, རྫོང་ཁ
ee ewe: Ewe, Eʋegbe
el ell gre: Greek, Modern Greek, Ελληνικά
en eng: English, American English, British English
eo epo: Esperanto
es spa: Spanish, Castilian, Español, Castellano
et est ekk: Estonian, Eesti
eu eus baq: Basque, Euskara
fa fas per pes prs: Persian, Farsi, Dari, فارسی, دری
ff ful: Fulah, Fula, Fulfulde, Pulaar
fi fin: Finnish, Suomi
fil tl tgl: Filipino, Tagalog, Pilipino, Wikang Filipino
fj fij: Fijian
fo fao: Faroese, Føroyskt
fr fra fre: French, Français
fy fry: Western Frisian, Frisian, West Frisian, Frysk
ga gle: Irish, Irish Gaelic, Gaeilge
gan: Gan Chinese, Gan, 赣语, 贛語
gd gla: Scottish Gaelic, Gaelic, Gàidhlig
gl glg: Galician, Galego
gn grn: Guarani, Guaraní, Avañe'ẽ
gsw: Swiss German, Alemannic, Schweizerdeutsch, Schwiizertüütsch
gu guj: Gujarati, ગુજરાતી
gv glv: Manx, Gaelg
ha hau: Hausa
hak: Hakka Chinese, Hakka, 客家话, 客家話
haw: Hawaiian, ʻŌlelo Hawaiʻi
he heb iw: Hebrew, Modern Hebrew, עברית
hi hin: Hindi, हिन्दी, हिंदी
ho hmo: Hiri Motu
hr hrv scr: Croatian, Hrvatski
hsb: Upper Sorbian, Sorbian, Hornjoserbsce, Hornjoserbšćina
hsn: Xiang Chinese, Xiang, Hunanese, 湘语, 湘語
ht hat: Haitian Creole, Haitian, Kreyòl ayisyen, Kreyòl
hu hun: Hungarian, Magyar
hy hye arm: Armenian, Eastern Armenian, Հայերեն
hz her: Herero
ia ina: Interlingua
id ind in: Indonesian, Bahasa Indonesia
ie ile: Interlingue, Occidental
ig ibo: Igbo
ii iii: Sichuan Yi, Nuosu, ꆈꌠꉙ
ik ipk: Inupiaq
io ido: Ido
is isl ice: Icelandic, Íslenska
it ita: Italian, Italiano
iu iku: Inuktitut, ᐃᓄᒃᑎᑐᑦ
ja jpn jp: Japanese, 日本語
jv jav jw: Javanese, Basa Jawa, Jawa
ka kat geo: Georgian, ქართული
kab: Kabyle, Taqbaylit
kg kon: Kongo
ki kik: Kikuyu, Gikuyu
kj kua: Kuanyama
kk kaz: Kazakh, Қазақ, Қазақша, Қазақ тілі
kl kal: Kalaallisut, Greenlandic
km khm: Khmer, Cambodian, Central Khmer, ខ្មែរ, ភាសាខ្មែរ
kmr: Northern Kurdish, Kurmanji, Kurmancî
kn kan: Kannada, ಕನ್ನಡ
ko kor: Korean, 한국어, 조선말
kok: Konkani, कोंकणी
kr kau: Kanuri
ks kas: Kashmiri, कॉशुर, كٲشُر
ku kur: Kurdish, Kurdî
kv kom: Komi
kw cor: Cornish, Kernewek
ky kir: Kyrgyz, Kirghiz, Кыргыз, Кыргызча
la lat: Latin, Latina, Lingua Latina
lb ltz: Luxembourgish, Letzeburgesch, Lëtzebuergesch
lg lug: Ganda, Luganda
li lim: Limburgish, Limburgan, Limburgs
ln lin: Lingala, Lingála
lo lao: Lao, Laotian, ລາວ, ພາສາລາວ
lt lit: Lithuanian, Lietuvių
lu lub: Luba-Katanga, Tshiluba
lv lav lvs: Latvian, Latviešu
lzh: Literary Chinese, Classical Chinese, 文言, 文言文
mai: Maithili, मैथिली
mg mlg: Malagasy
mh mah: Marshallese
mi mri mao: Maori, Māori, te reo Māori
mk mkd mac: Macedonian, Македонски
ml mal: Malayalam, മലയാളം
mn mon khk: Mongolian, Halh Mongolian, Монгол
mr mar: Marathi, मराठी
ms msa may zsm: Malay, Standard Malay, Malaysian, Bahasa Melayu, Bahasa Malaysia
mt mlt: Maltese, Malti
my mya bur: Burmese, Myanmar, မြန်မာ, မြန်မာဘာသာ
na nau: Nauru, Nauruan
nan: Min Nan Chinese, Min Nan, Southern Min, Hokkien, Taiwanese, 闽南语, 閩南語, 臺語, 台語
nb nob: Norwegian Bokmål, Bokmål, Norsk bokmål
nd nde: North Ndebele
nds: Low German, Low Saxon, Plattdüütsch, Plattdeutsch
ne nep npi: Nepali, नेपाली
ng ndo: Ndonga
nl nld dut: Dutch, Flemish, Nederlands, Vlaams
nn nno: Norwegian Nynorsk, Nynorsk, Norsk nynorsk
no nor: Norwegian, Norsk
nr nbl: South Ndebele
nso: Northern Sotho, Pedi, Sepedi, Sesotho sa Leboa
nv nav: Navajo, Navaho, Diné bizaad
ny nya: Nyanja, Chichewa, Chewa, Chinyanja
oc oci: Occitan, Provençal, Lenga d'òc
oj oji: Ojibwa, Ojibwe
om orm: Oromo, Afaan Oromoo, Oromoo
or ori ory: Odia, Oriya, ଓଡ଼ିଆ
os oss: Ossetic, Ossetian, Ирон
pa pan: Punjabi, Panjabi, ਪੰਜਾਬੀ, پنجابی
pi pli: Pali
pl pol: Polish, Polski
ps pus pbt: Pashto, Pushto, پښتو
pt por: Portuguese, Brazilian Portuguese, European Portuguese, Português
qu que: Quechua, Runasimi
rm roh: Romansh, Rumantsch
rn run: Rundi, Kirundi, Ikirundi
ro ron rum mo mol: Romanian, Moldavian, Moldovan, Română
ru rus: Russian, Русский
rw kin: Kinyarwanda, Ikinyarwanda
sa san: Sanskrit, संस्कृतम्, संस्कृत भाषा
sah: Yakut, Sakha, Саха, Саха тыла
sc srd: Sardinian, Sardu
scn: Sicilian, Sicilianu
sco: Scots
sd snd: Sindhi, سنڌي
se sme: Northern Sami, Davvisámegiella
sg sag: Sango, Sängö
sh hbs: Serbo-Croatian, Srpskohrvatski
si sin: Sinhala, Sinhalese, සිංහල
sk slk slo: Slovak, Slovenčina
sl slv: Slovenian, Slovene, Slovenščina
sm smo: Samoan
sn sna: Shona, chiShona
so som: Somali, Soomaali
sq sqi alb als: Albanian, Shqip
sr srp scc: Serbian, Српски, Srpski
ss ssw: Swati, siSwati
st sot: Southern Sotho, Sotho, Sesotho
su sun: Sundanese, Basa Sunda
sv swe: Swedish, Svenska
sw swa swh: Swahili, Kiswahili
szl: Silesian, Ślōnski
ta tam: Tamil, தமிழ்
te tel: Telugu, తెలుగు
tg tgk: Tajik, Тоҷикӣ
th tha: Thai, ไทย, ภาษาไทย
ti tir: Tigrinya, ትግርኛ
tk tuk: Turkmen, Türkmen, Türkmençe, Türkmen dili
tn tsn: Tswana, Setswana
to ton: Tongan
tr tur: Turkish, Türkçe
ts tso: Tsonga, Xitsonga
tt tat: Tatar, Татар, Татарча
tw twi: Twi
ty tah: Tahitian
ug uig: Uyghur, Uighur, ئۇيغۇرچە
uk ukr: Ukrainian, Українська
ur urd: Urdu, اردو
uz uzb uzn: Uzbek, Oʻzbek, Oʻzbekcha, Ўзбек
ve ven: Venda, Tshivenda
vi vie: Vietnamese, Tiếng Việt
vo vol: Volapük
wa wln: Walloon, Walon
wo wol: Wolof
wuu: Wu Chinese, Wu, Shanghainese, 吴语, 吳語, 上海话, 上海話
xh xho: Xhosa, isiXhosa
yi yid ydd ji: Yiddish, ייִדיש
yo yor: Yoruba, Yorùbá, Èdè Yorùbá
yue: Cantonese, Yue Chinese, Yue, 粤语, 粵語, 广东话, 廣東話
za zha: Zhuang, Chuang, Vahcuengh
zh zho chi cmn cn: Chinese, Mandarin, Mandarin Chinese, Chinese Mandarin, Standard Chinese, \
Simplified Chinese, Traditional Chinese, Chinese Simplified, Chinese Traditional, 中文, 汉语, \
漢語, 普通话, 普通話, 国语, 國語, 华语, 華語, 简体中文, 繁體中文
zu zul: Zulu, isiZulu
"""
"""One language a line; see this module's docstring."""
