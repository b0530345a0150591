"""Names: the first-level divisions of countries in English, and their seats of government."""

from __future__ import annotations

from dataclasses import dataclass

# Keys are spelt as the source spells them. Left out: city states, federal districts, territories, disputed regions.
FRANCE = {
    "Auvergne-Rhône-Alpes": "Auvergne-Rhône-Alpes",
    "Nouvelle-Aquitaine": "Nouvelle-Aquitaine",
    "Grand-Est": "Grand Est",
    "Hauts-de-France": "Hauts-de-France",
    "Occitanie": "Occitanie",
    "Normandie": "Normandy",
    "Pays-de-la-Loire": "Pays de la Loire",
    "Bretagne": "Brittany",
    "Île-de-France": "Île-de-France",
    "Bourgogne-Franche-Comté": "Bourgogne-Franche-Comté",
    "Centre-Val de Loire": "Centre-Val de Loire",
    "Provence-Alpes-Côte-d’Azur": "Provence-Alpes-Côte d'Azur",
    "Corse": "Corsica",
}
GERMANY = {
    "Rheinland-Pfalz": "Rhineland-Palatinate",
    "Bayern": "Bavaria",
    "Niedersachsen": "Lower Saxony",
    "Schleswig-Holstein": "Schleswig-Holstein",
    "Baden-Württemberg": "Baden-Württemberg",
    "Thüringen": "Thuringia",
    "Sachsen-Anhalt": "Saxony-Anhalt",
    "Nordrhein-Westfalen": "North Rhine-Westphalia",
    "Mecklenburg-Vorpommern": "Mecklenburg-Western Pomerania",
    "Sachsen": "Saxony",
    "Hessen": "Hesse",
    "Brandenburg": "Brandenburg",
    "Saarland": "Saarland",
}
ITALY = {
    "Lombardia": "Lombardy",
    "Piemonte": "Piedmont",
    "Veneto": "Veneto",
    "Campania": "Campania",
    "Emilia-Romagna": "Emilia-Romagna",
    "Lazio": "Lazio",
    "Calabria": "Calabria",
    "Toscana": "Tuscany",
    "Sicilia": "Sicily",
    "Trentino-Alto Adige": "Trentino-South Tyrol",
    "Sardegna": "Sardinia",
    "Abruzzo": "Abruzzo",
    "Friuli Venezia Giulia": "Friuli-Venezia Giulia",
    "Marche": "Marche",
    "Puglia": "Apulia",
    "Liguria": "Liguria",
    "Umbria": "Umbria",
    "Molise": "Molise",
    "Basilicata": "Basilicata",
    "Valle d'Aosta": "the Aosta Valley",
}
SPAIN = {
    "Castilla y León": "Castile and León",
    "Castilla-La Mancha": "Castilla-La Mancha",
    "Catalunya": "Catalonia",
    "Andalucía": "Andalusia",
    "Aragón": "Aragon",
    "Valenciana, Comunidad": "the Valencian Community",
    "Extremadura": "Extremadura",
    "Madrid, Comunidad de": "the Community of Madrid",
    "Galicia": "Galicia",
    "Navarra, Comunidad Foral de": "Navarre",
    "País Vasco": "the Basque Country",
    "La Rioja": "La Rioja",
    "Illes Balears": "the Balearic Islands",
    "Canarias": "the Canary Islands",
    "Asturias, Principado de": "Asturias",
    "Cantabria": "Cantabria",
    "Murcia, Región de": "the Region of Murcia",
}
MEXICO_SHORT = {
    "Veracruz de Ignacio de la Llave": "Veracruz",
    "Michoacán de Ocampo": "Michoacán",
    "Coahuila de Zaragoza": "Coahuila",
}
MEXICO = (
    "Oaxaca,Puebla,Chiapas,Guanajuato,Guerrero,Hidalgo,Jalisco,San Luis Potosí,Sinaloa,Tabasco,Yucatán,Zacatecas,"
    "Querétaro,Sonora,Morelos,Tlaxcala,Durango,Nayarit,Chihuahua,Baja California,Aguascalientes,Tamaulipas,"
    "Campeche,Nuevo León,Quintana Roo,Colima,Baja California Sur"
)
INDIA = {
    "Tamil Nādu": "Tamil Nadu",
    "Kerala": "Kerala",
    "Mahārāshtra": "Maharashtra",
    "Uttar Pradesh": "Uttar Pradesh",
    "Madhya Pradesh": "Madhya Pradesh",
    "Gujarāt": "Gujarat",
    "Karnātaka": "Karnataka",
    "Rājasthān": "Rajasthan",
    "Andhra Pradesh": "Andhra Pradesh",
    "Assam": "Assam",
    "Jhārkhand": "Jharkhand",
    "Punjab": "Punjab",
    "Odisha": "Odisha",
    "Bihār": "Bihar",
    "Telangāna": "Telangana",
    "Chhattīsgarh": "Chhattisgarh",
    "West Bengal": "West Bengal",
    "Haryāna": "Haryana",
    "Goa": "Goa",
    "Himāchal Pradesh": "Himachal Pradesh",
    "Uttarākhand": "Uttarakhand",
    "Manipur": "Manipur",
    "Tripura": "Tripura",
    "Mizoram": "Mizoram",
}
POLAND = {
    "Małopolskie": "Lesser Poland",
    "Mazowieckie": "Masovia",
    "Śląskie": "Silesia",
    "Podkarpackie": "Subcarpathia",
    "Dolnośląskie": "Lower Silesia",
    "Wielkopolskie": "Greater Poland",
    "Lubelskie": "Lublin",
    "Pomorskie": "Pomerania",
    "Łódzkie": "Łódź",
    "Zachodniopomorskie": "West Pomerania",
    "Kujawsko-Pomorskie": "Kuyavia-Pomerania",
    "Opolskie": "Opole",
    "Warmińsko-Mazurskie": "Warmia-Masuria",
    "Lubuskie": "Lubusz",
    "Podlaskie": "Podlasie",
}
AUSTRIA = {
    "Niederösterreich": "Lower Austria",
    "Steiermark": "Styria",
    "Oberösterreich": "Upper Austria",
    "Tirol": "Tyrol",
    "Kärnten": "Carinthia",
    "Salzburg": "Salzburg",
    "Burgenland": "Burgenland",
    "Vorarlberg": "Vorarlberg",
}
NETHERLANDS = {
    "Noord-Brabant": "North Brabant",
    "Gelderland": "Gelderland",
    "Limburg": "Limburg",
    "Zuid-Holland": "South Holland",
    "Noord-Holland": "North Holland",
    "Fryslân": "Friesland",
    "Groningen": "Groningen",
    "Overijssel": "Overijssel",
    "Utrecht": "Utrecht",
    "Drenthe": "Drenthe",
    "Zeeland": "Zeeland",
    "Flevoland": "Flevoland",
}
INDONESIA = {
    "Jawa Timur": "East Java",
    "Jawa Barat": "West Java",
    "Jawa Tengah": "Central Java",
    "Nusa Tenggara Timur": "East Nusa Tenggara",
    "Nusa Tenggara Barat": "West Nusa Tenggara",
    "Banten": "Banten",
    "Bali": "Bali",
    "Aceh": "Aceh",
    "Sumatera Utara": "North Sumatra",
    "Sumatera Barat": "West Sumatra",
    "Sumatera Selatan": "South Sumatra",
    "Kalimantan Selatan": "South Kalimantan",
    "Kalimantan Tengah": "Central Kalimantan",
    "Sulawesi Selatan": "South Sulawesi",
    "Sulawesi Utara": "North Sulawesi",
    "Riau": "Riau",
    "Lampung": "Lampung",
    "Jambi": "Jambi",
}
BRAZIL = (
    "Minas Gerais,São Paulo,Rio Grande do Sul,Bahia,Paraná,Santa Catarina,Goiás,Piauí,Maranhão,Paraíba,Ceará,"
    "Pernambuco,Rio Grande do Norte,Tocantins,Mato Grosso,Pará,Rio de Janeiro,Alagoas,Espírito Santo,"
    "Mato Grosso do Sul,Sergipe,Amazonas,Rondônia,Amapá,Acre,Roraima"
)
CANADA = (
    "Quebec,Ontario,British Columbia,Alberta,New Brunswick,Newfoundland and Labrador,Nova Scotia,Saskatchewan,"
    "Manitoba,Prince Edward Island"
)
AUSTRALIA = "New South Wales,Queensland,Victoria,Western Australia,South Australia,Tasmania"
BRITAIN = "England,Scotland,Wales,Northern Ireland"
CHINA = (
    "Guangdong,Hubei,Jiangxi,Hunan,Zhejiang,Jiangsu,Gansu,Heilongjiang,Fujian,Shaanxi,Henan,Yunnan,Qinghai,Anhui,"
    "Liaoning,Shandong,Shanxi,Hebei,Guizhou,Jilin,Sichuan,Hainan"
)
ROMANIA = (
    "Bihor,Prahova,Argeș,Suceava,Dolj,Bacău,Buzău,Iași,Olt,Timiș,Dâmbovița,Gorj,Mureș,Vâlcea,Botoșani,Caraș-Severin,"
    "Alba,Vaslui,Maramureș,Neamț,Teleorman,Vrancea,Cluj,Bistrița-Năsăud,Arad,Satu Mare,Hunedoara,Mehedinți,Sălaj,"
    "Galați,Sibiu,Constanța,Brașov,Harghita,Giurgiu,Călărași,Covasna,Tulcea,Ialomița"
)
JAPAN = (
    "Tokyo,Hokkaido,Saitama,Chiba,Nagano,Fukuoka,Fukushima,Kanagawa,Ibaraki,Aichi,Kagoshima,Hyogo,Kumamoto,Okinawa,"
    "Osaka,Nara,Aomori,Niigata,Shizuoka,Gunma,Gifu,Kochi,Miyagi,Iwate,Yamagata,Yamanashi,Akita,Okayama,Tochigi,"
    "Hiroshima,Kyoto,Mie,Miyazaki,Tokushima,Wakayama"
)


def _same(names: str, ending: str = "") -> dict[str, str]:
    return {name + ending: name for name in names.split(",")}


@dataclass(frozen=True, slots=True)
class Land:
    """A country whose towns are asked for their first-level division.

    Attributes
    ----------
    code: two letters.
    name: of the country, inside a sentence.
    adjective: as in "the German state of".
    division: what a division is called there.
    names: the source's name of each division to its English one.
    limit, share: as in :class:`~builders.datasets.relation.Relation`.
    """

    code: str
    name: str
    adjective: str
    division: str
    names: dict[str, str]
    limit: int
    share: float = 0.2


LANDS = (
    Land("FR", "France", "French", "region", FRANCE, 3000),
    Land("DE", "Germany", "German", "state", GERMANY, 3000),
    Land("IT", "Italy", "Italian", "region", ITALY, 3000, 0.15),
    Land("ES", "Spain", "Spanish", "autonomous community", SPAIN, 2000),
    Land("MX", "Mexico", "Mexican", "state", MEXICO_SHORT | _same(MEXICO), 2200, 0.1),
    Land("BR", "Brazil", "Brazilian", "state", _same(BRAZIL), 2200, 0.15),
    Land("IN", "India", "Indian", "state", INDIA, 2200, 0.15),
    Land("CN", "China", "Chinese", "province", _same(CHINA, " Sheng"), 1500, 0.1),
    Land("ID", "Indonesia", "Indonesian", "province", INDONESIA, 1200, 0.25),
    Land("RO", "Romania", "Romanian", "county", _same(ROMANIA), 1200, 0.06),
    Land("PL", "Poland", "Polish", "voivodeship", POLAND, 1200, 0.15),
    Land("AU", "Australia", "Australian", "state", _same(AUSTRALIA), 1200, 0.3),
    Land("CA", "Canada", "Canadian", "province", _same(CANADA), 1000, 0.2),
    Land("GB", "the United Kingdom", "British", "country", _same(BRITAIN), 900, 0.35),
    Land("AT", "Austria", "Austrian", "state", AUSTRIA, 900, 0.25),
    Land("NL", "the Netherlands", "Dutch", "province", NETHERLANDS, 800, 0.2),
    Land("JP", "Japan", "Japanese", "prefecture", _same(JAPAN), 700, 0.1),
)


def pairs(text: str) -> dict[str, str]:
    """Return what "key: value; key: value" says."""
    return dict(pair.split(": ") for pair in text.split("; "))


# A seat that bears its division's name would give nothing to infer; one with a full stop would end an answer early.
SEATS = {
    "US": pairs(
        "Alabama: Montgomery; Alaska: Juneau; Arizona: Phoenix; Arkansas: Little Rock; California: Sacramento; "
        "Colorado: Denver; Connecticut: Hartford; Delaware: Dover; Florida: Tallahassee; Georgia: Atlanta; "
        "Hawaii: Honolulu; Idaho: Boise; Illinois: Springfield; Indiana: Indianapolis; Iowa: Des Moines; "
        "Kansas: Topeka; Kentucky: Frankfort; Louisiana: Baton Rouge; Maine: Augusta; Maryland: Annapolis; "
        "Massachusetts: Boston; Michigan: Lansing; Mississippi: Jackson; Missouri: Jefferson City; Montana: Helena; "
        "Nebraska: Lincoln; Nevada: Carson City; New Hampshire: Concord; New Jersey: Trenton; New Mexico: Santa Fe; "
        "New York: Albany; North Carolina: Raleigh; North Dakota: Bismarck; Ohio: Columbus; Oregon: Salem; "
        "Pennsylvania: Harrisburg; Rhode Island: Providence; South Carolina: Columbia; South Dakota: Pierre; "
        "Tennessee: Nashville; Texas: Austin; Utah: Salt Lake City; Vermont: Montpelier; Virginia: Richmond; "
        "Washington: Olympia; West Virginia: Charleston; Wisconsin: Madison; Wyoming: Cheyenne"
    ),
    "FR": pairs(
        "Auvergne-Rhône-Alpes: Lyon; Nouvelle-Aquitaine: Bordeaux; Grand Est: Strasbourg; Hauts-de-France: Lille; "
        "Occitanie: Toulouse; Normandy: Rouen; Pays de la Loire: Nantes; Brittany: Rennes; Île-de-France: Paris; "
        "Bourgogne-Franche-Comté: Dijon; Centre-Val de Loire: Orléans; Provence-Alpes-Côte d'Azur: Marseille; "
        "Corsica: Ajaccio"
    ),
    "DE": pairs(
        "Rhineland-Palatinate: Mainz; Bavaria: Munich; Lower Saxony: Hanover; Schleswig-Holstein: Kiel; "
        "Baden-Württemberg: Stuttgart; Thuringia: Erfurt; Saxony-Anhalt: Magdeburg; Saxony: Dresden; "
        "North Rhine-Westphalia: Düsseldorf; Mecklenburg-Western Pomerania: Schwerin; Hesse: Wiesbaden; "
        "Brandenburg: Potsdam; Saarland: Saarbrücken"
    ),
    "IT": pairs(
        "Lombardy: Milan; Piedmont: Turin; Veneto: Venice; Campania: Naples; Emilia-Romagna: Bologna; Lazio: Rome; "
        "Calabria: Catanzaro; Tuscany: Florence; Sicily: Palermo; Trentino-South Tyrol: Trento; Sardinia: Cagliari; "
        "Abruzzo: L'Aquila; Friuli-Venezia Giulia: Trieste; Marche: Ancona; Apulia: Bari; Liguria: Genoa; "
        "Umbria: Perugia; Molise: Campobasso; Basilicata: Potenza; the Aosta Valley: Aosta"
    ),
    "ES": pairs(
        "Castile and León: Valladolid; Castilla-La Mancha: Toledo; Catalonia: Barcelona; Andalusia: Seville; "
        "Aragon: Zaragoza; the Valencian Community: Valencia; Extremadura: Mérida; Galicia: Santiago de Compostela; "
        "Navarre: Pamplona; La Rioja: Logroño; the Balearic Islands: Palma; Asturias: Oviedo; Cantabria: Santander"
    ),
    "MX": pairs(
        "Veracruz: Xalapa; Chiapas: Tuxtla Gutiérrez; Michoacán: Morelia; Guerrero: Chilpancingo; Hidalgo: Pachuca; "
        "Jalisco: Guadalajara; Sinaloa: Culiacán; Tabasco: Villahermosa; Yucatán: Mérida; Sonora: Hermosillo; "
        "Morelos: Cuernavaca; Nayarit: Tepic; Baja California: Mexicali; Nuevo León: Monterrey; "
        "Quintana Roo: Chetumal; Coahuila: Saltillo; Tamaulipas: Ciudad Victoria; Baja California Sur: La Paz"
    ),
    "ID": pairs(
        "East Java: Surabaya; West Java: Bandung; Central Java: Semarang; East Nusa Tenggara: Kupang; "
        "West Nusa Tenggara: Mataram; Banten: Serang; Bali: Denpasar; North Sumatra: Medan; West Sumatra: Padang; "
        "South Sumatra: Palembang; Central Kalimantan: Palangka Raya; South Sulawesi: Makassar; "
        "North Sulawesi: Manado; Riau: Pekanbaru"
    ),
    "PL": pairs(
        "Lesser Poland: Kraków; Masovia: Warsaw; Silesia: Katowice; Subcarpathia: Rzeszów; Lower Silesia: Wrocław; "
        "Greater Poland: Poznań; Pomerania: Gdańsk; West Pomerania: Szczecin; Warmia-Masuria: Olsztyn; "
        "Podlasie: Białystok"
    ),
    "BR": pairs(
        "Minas Gerais: Belo Horizonte; Rio Grande do Sul: Porto Alegre; Bahia: Salvador; Paraná: Curitiba; "
        "Santa Catarina: Florianópolis; Goiás: Goiânia; Piauí: Teresina; Maranhão: São Luís; Paraíba: João Pessoa; "
        "Ceará: Fortaleza; Pernambuco: Recife; Rio Grande do Norte: Natal; Tocantins: Palmas; Mato Grosso: Cuiabá; "
        "Pará: Belém; Alagoas: Maceió; Espírito Santo: Vitória; Mato Grosso do Sul: Campo Grande; Sergipe: Aracaju; "
        "Amazonas: Manaus; Rondônia: Porto Velho; Amapá: Macapá; Acre: Rio Branco; Roraima: Boa Vista"
    ),
    "IN": pairs(
        "Tamil Nadu: Chennai; Kerala: Thiruvananthapuram; Maharashtra: Mumbai; Uttar Pradesh: Lucknow; "
        "Madhya Pradesh: Bhopal; Gujarat: Gandhinagar; Karnataka: Bengaluru; Rajasthan: Jaipur; Assam: Dispur; "
        "Jharkhand: Ranchi; Odisha: Bhubaneswar; Bihar: Patna; Telangana: Hyderabad; Chhattisgarh: Raipur; "
        "West Bengal: Kolkata; Goa: Panaji; Manipur: Imphal; Tripura: Agartala; Mizoram: Aizawl"
    ),
    "CN": pairs(
        "Guangdong: Guangzhou; Hubei: Wuhan; Jiangxi: Nanchang; Hunan: Changsha; Zhejiang: Hangzhou; "
        "Jiangsu: Nanjing; Gansu: Lanzhou; Heilongjiang: Harbin; Fujian: Fuzhou; Shaanxi: Xi'an; Henan: Zhengzhou; "
        "Yunnan: Kunming; Qinghai: Xining; Anhui: Hefei; Liaoning: Shenyang; Shandong: Jinan; Shanxi: Taiyuan; "
        "Hebei: Shijiazhuang; Guizhou: Guiyang; Jilin: Changchun; Sichuan: Chengdu; Hainan: Haikou"
    ),
    "AU": pairs(
        "New South Wales: Sydney; Queensland: Brisbane; Victoria: Melbourne; Western Australia: Perth; "
        "South Australia: Adelaide; Tasmania: Hobart"
    ),
    "CA": pairs(
        "Quebec: Quebec City; Ontario: Toronto; British Columbia: Victoria; Alberta: Edmonton; "
        "New Brunswick: Fredericton; Nova Scotia: Halifax; Saskatchewan: Regina; Manitoba: Winnipeg; "
        "Prince Edward Island: Charlottetown"
    ),
    "GB": pairs("England: London; Scotland: Edinburgh; Wales: Cardiff; Northern Ireland: Belfast"),
    "AT": pairs(
        "Styria: Graz; Upper Austria: Linz; Tyrol: Innsbruck; Carinthia: Klagenfurt; Burgenland: Eisenstadt; "
        "Vorarlberg: Bregenz"
    ),
    "NL": pairs(
        "North Brabant: 's-Hertogenbosch; Gelderland: Arnhem; Limburg: Maastricht; South Holland: The Hague; "
        "North Holland: Haarlem; Friesland: Leeuwarden; Overijssel: Zwolle; Drenthe: Assen; Zeeland: Middelburg; "
        "Flevoland: Lelystad"
    ),
}
"""Country code to the seat of government of each of its divisions, by the division's English name."""
