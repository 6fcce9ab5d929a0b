from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('vms', '0006_defaults_in_the_database'),
    ]

    operations = [
        migrations.AddField(
            model_name='node',
            name='addresses',
            field=models.CharField(blank=True, db_default='', default='', help_text="the host's own, IPv4, with commas between", max_length=300),
        ),
    ]
